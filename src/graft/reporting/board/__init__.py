"""What TensorBoard shows of a run beside its curves: images, figures, embeddings, settings."""
