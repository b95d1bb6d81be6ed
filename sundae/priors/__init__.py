"""The priors over token grids beside SUNDAE, and the contract that the three share.

``contract`` says what a prior is; ``absorbing`` and ``autoregressive`` are priors, and so is
:class:`sundae.hourglass.Hourglass`, which is SUNDAE. ``filling`` is what the two samplers here have in common,
``likelihood`` how surprising tokens are to any of the three.
"""
