"""The HTML page: what stands beside a run (``context``), what the template is given (``view``), pictures (``svg``)."""
