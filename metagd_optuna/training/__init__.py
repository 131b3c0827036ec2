"""Training: the CNN, the population engine, its plain-Keras reference, and the callback for any Keras model."""
