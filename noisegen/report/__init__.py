"""`noisegen report`: one self-contained page that shows a dataset, a noise model or a denoiser.

`dispatch.report_page` finds out what a thing is and calls the maker of its page:
`dataset_page.dataset_page`, `model_page.model_page` or `denoiser_page.denoiser_page`, each (path, options) -> `Page`.
"""
