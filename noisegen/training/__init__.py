"""What trainings of noise models and of denoisers share: state, log, curves, averaged weights, processes."""
