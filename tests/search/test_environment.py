import platform

from prune_search.search.environment import versions


def test_a_package_that_is_not_installed_is_named_as_such():
    found = versions("pytest", "no-such-package-anywhere")
    assert found.keys() == {"python", "pytest", "no-such-package-anywhere"}
    assert found["python"] == platform.python_version() and found["pytest"][0].isdigit()
    assert found["no-such-package-anywhere"] == "not installed"
