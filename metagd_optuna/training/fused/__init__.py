"""A whole population's forward pass in one operation per layer: the members' weights stand beside one another.

``network`` reads the graph of a Keras model (``graph``), leaves out the pixels that reach no logit (``trimming``), and
puts a rule in the place of each layer: those of ``grouped``, or on a GPU those of ``patches``. ``activations`` says
how numbers lie in memory between two layers; ``normalization`` has the rules of layers that normalise. Outside of this
folder only ``FusedNetwork`` is used, and ``CannotFuseError`` for a model with a layer that has no rule, which
``training/single.py`` then trains one member at a time.
"""
