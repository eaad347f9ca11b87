from tests.controller.history.conftest import fleet  # noqa: F401 - the same hosts
