"""Text to speakable sentences, phonemes and text ids. Nothing here imports torch."""
