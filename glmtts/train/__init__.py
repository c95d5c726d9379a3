"""One script a stage: speech tokenizer, language model, flow, vocoder. Each reads from the top."""
