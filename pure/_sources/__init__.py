"""RECORDS BY NUMBER: sources in memory and in mapped files, and views, joins and mixtures of them.

`_source` says what a source is (`_staging` brings its arrays in, `_gather` reads them), and
`_host_source` what one is that is read on the host. Nothing here knows of batches or of stages.
"""
