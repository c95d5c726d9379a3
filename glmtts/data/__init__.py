"""Making and reading training data: texts, teacher speech, manifests, encoded shards, batches."""
