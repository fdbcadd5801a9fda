"""Every process that runs tests keeps the rules of `tests.rules`.

One that hands tests out to others runs none, and does without ten seconds of imports.
"""

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    if session.config.getoption("dist", "no") == "no":  # as it is in each that is handed tests
        session.config.pluginmanager.import_plugin("tests.rules")
