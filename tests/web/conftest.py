from tests.django import conftest  # noqa: F401 - configures Django, which the tests of all integrations need
