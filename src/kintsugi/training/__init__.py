"""Training a denoiser on a folder of images: ``loop.train`` with the settings of ``config.TrainConfig``."""
