from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings
from django.test import AsyncClient, Client, RequestFactory, override_settings

from ratelimit_kit import MemoryStore
from ratelimit_kit.django.decorator import ratelimit
from ratelimit_kit.django.site import site_policy
from ratelimit_kit.errors import IdentityError, OptionError, StoreURLError, UnsafeCacheError, UnsafeWorkersError
from tests.django import urls


def test_the_middleware_limits_by_the_setting() -> None:
    client = Client()
    answers = [client.get("/plain") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0]["RateLimit"] == '"plain";r=1;t=30, "site";r=99;t=60'
    assert answers[2]["Content-Type"] == "application/problem+json"
    assert 1 <= int(answers[2]["Retry-After"]) <= 60
    assert client.get("/no-such-page")["RateLimit"] == '"site";r=97;t=59'


async def test_the_middleware_is_native_in_async() -> None:
    client = AsyncClient()
    assert [(await client.get("/plain")).status_code for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize("path", ["/function", "/coroutine", "/class", "/async-class", "/async-method"])
def test_a_decorated_view_answers_429_in_the_sync_world(path: str) -> None:
    client = Client()
    first, second = client.get(path), client.get(path)
    assert (first.status_code, second.status_code) == (200, 429)
    assert first["RateLimit"].count('"') == 4
    assert '"site";r=99' in first["RateLimit"]


@pytest.mark.parametrize("path", ["/function", "/coroutine", "/class", "/async-class", "/async-method"])
async def test_a_decorated_view_answers_429_in_the_async_world(path: str) -> None:
    client = AsyncClient()
    assert [(await client.get(path)).status_code for _ in range(2)] == [200, 429]


def test_a_decorated_method_is_limited() -> None:
    client = Client()
    assert [client.post("/method").status_code for _ in range(2)] == [200, 429]
    assert client.get("/method").status_code == 405


def test_views_have_counters_of_their_own_whatever_their_urls() -> None:
    client = Client()
    assert client.get("/function").status_code == 200
    assert client.get("/again/function").status_code == 429
    assert client.get("/class").status_code == 200
    assert client.get("/other").status_code == 200


def test_views_of_one_name_share_their_counter() -> None:
    client = Client()
    assert client.get("/shared/one").status_code == 200
    assert client.get("/shared/two").status_code == 429


def test_a_failing_view_is_called_once_and_its_error_passes() -> None:
    urls.calls.clear()
    with pytest.raises(KeyError, match="mine"):
        Client().get("/failing")
    assert urls.calls == ["failing"]


def test_streams_stay_streams_and_redirects_carry_no_fields() -> None:
    answer = Client().get("/stream")
    assert answer.streaming
    assert b"".join(answer.streaming_content) == b"ab"
    assert "RateLimit" in answer
    assert "RateLimit" not in Client().get("/redirect")


def test_counting_by_user_needs_the_authentication_middleware() -> None:
    with pytest.raises(IdentityError, match="AuthenticationMiddleware"):
        Client().get("/user")


class User:
    is_authenticated = True

    def __init__(self, pk: int) -> None:
        self.pk = pk


def test_users_are_counted_by_their_key() -> None:
    def visit(user: Any) -> int:
        request = RequestFactory().get("/user")
        request.user = user
        return urls.by_user(request).status_code

    assert [visit(User(1)), visit(User(2)), visit(User(1))] == [200, 200, 429]


async def test_users_are_awaited_in_async_views() -> None:
    async def view(request: Any) -> Any:
        return urls.plain(request)

    limited = ratelimit("1/minute", key="user")(view)

    async def visit(pk: int) -> int:
        request = RequestFactory().get("/user")

        async def auser() -> User:
            return User(pk)

        request.auser = auser
        return (await limited(request)).status_code

    assert [await visit(1), await visit(2), await visit(1)] == [200, 200, 429]


def test_without_the_setting_nothing_is_guessed() -> None:
    with override_settings():
        del settings.RATELIMIT_KIT
        site_policy.cache_clear()
        with pytest.raises(OptionError, match="the setting RATELIMIT_KIT is missing"):
            Client().get("/plain")


def test_an_unknown_option_in_the_setting_is_an_error() -> None:
    with (
        override_settings(RATELIMIT_KIT={"stores": "memory://", "rules": []}),
        pytest.raises(OptionError, match="no option 'stores'; did you mean 'store'"),
    ):
        Client().get("/plain")


def test_an_unknown_option_of_the_decorator_is_an_error() -> None:
    with pytest.raises(OptionError, match="Rule has no option 'rate'"):
        ratelimit("5/minute", rate="5/m")


CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "nothing": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
    "files": {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": "/tmp/cache"},
    "table": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "cache"},
    "redis": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": ["redis://:secret@127.0.0.1:6399/3", "redis://replica"],
    },
    "split": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": "redis://127.0.0.1:6399",
        "OPTIONS": {
            "PASSWORD": "se cret/",
            "CONNECTION_POOL_KWARGS": {"db": 5, "max_connections": 9},
            "CLIENT_CLASS": "django_redis.client.DefaultClient",
            "COMPRESSOR": "django_redis.compressors.zlib.ZlibCompressor",
        },
    },
    "memcached": {
        "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
        "LOCATION": ["127.0.0.1:11299", "127.0.0.1:11300"],
    },
    "socket": {"BACKEND": "django.core.cache.backends.memcached.PyLibMCCache", "LOCATION": "unix:/run/memcached.sock"},
    "nowhere": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": ""},
}


@pytest.mark.parametrize("alias", ["default", "nothing", "files", "table"])
def test_caches_that_cannot_count_are_refused_with_what_to_paste(alias: str) -> None:
    setting = {"store": f"django-cache://{alias}", "rules": [{"limits": "5/minute"}]}
    with (
        override_settings(CACHES=CACHES, RATELIMIT_KIT=setting),
        pytest.raises(UnsafeCacheError, match=r'(?s)cannot count hits.*"LOCATION": "redis://.*RLK203'),
    ):
        Client().get("/plain")


@pytest.mark.parametrize("alias", ["default", "nothing"])
def test_per_process_caches_under_several_workers_are_reported_as_such(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RATELIMIT_KIT_WORKERS", "4")
    setting = {"store": f"django-cache://{alias}", "rules": [{"limits": "5/minute"}]}
    with (
        override_settings(CACHES=CACHES, RATELIMIT_KIT=setting),
        pytest.raises(
            UnsafeWorkersError,
            match=r"(?s)Cache\) counts per process, and RATELIMIT_KIT_WORKERS=4.*No number of workers.*LOCATION.*RLK201",
        ),
    ):
        Client().get("/plain")


def test_the_app_refuses_several_workers_before_any_middleware(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.apps import apps

    monkeypatch.setenv("RATELIMIT_KIT_WORKERS", "2")
    with pytest.raises(UnsafeWorkersError, match="RLK201"):
        apps.get_app_config("ratelimit_kit").ready()


@pytest.mark.parametrize(
    ("alias", "expected"),
    [
        ("redis", "RedisStore('redis://***@127.0.0.1:6399/3')"),
        ("split", "RedisStore('redis://***@127.0.0.1:6399/5')"),
        ("memcached", "MemcachedStore('memcached://127.0.0.1:11299,127.0.0.1:11300')"),
        ("socket", "MemcachedStore('memcached:///run/memcached.sock')"),
    ],
)
def test_a_cache_that_can_count_is_opened_where_it_is(alias: str, expected: str) -> None:
    setting = {"store": f"django-cache://{alias}", "rules": [{"limits": "5/minute"}]}
    with override_settings(CACHES=CACHES, RATELIMIT_KIT=setting):
        assert repr(site_policy().store) == expected


@pytest.mark.parametrize(("alias", "hint"), [("rediss", "did you mean 'redis'"), ("nowhere", "no LOCATION")])
def test_a_cache_that_is_not_there_is_an_error(alias: str, hint: str) -> None:
    with (
        override_settings(CACHES=CACHES, RATELIMIT_KIT={"store": f"django-cache://{alias}", "rules": []}),
        pytest.raises(StoreURLError, match=hint),
    ):
        site_policy()


def test_a_store_object_is_taken_as_it_is() -> None:
    store = MemoryStore()
    with override_settings(RATELIMIT_KIT={"store": store, "rules": []}):
        assert site_policy().store is store


def test_a_class_and_a_bare_method_are_told_of_the_method_decorator() -> None:
    with pytest.raises(OptionError, match="OtherView is a class: write @method_decorator"):
        ratelimit("5/minute")(urls.OtherView)
    with pytest.raises(OptionError, match=r"methods take @method_decorator"):
        ratelimit("5/minute")(lambda self, request: None)(object(), RequestFactory().get("/"))


def test_refusals_flood_neither_the_log_nor_the_admins(caplog: pytest.LogCaptureFixture) -> None:
    client = Client()
    for _ in range(5):
        client.get("/plain")
    assert "Too Many Requests" not in caplog.text


def test_an_exempt_view_is_left_alone_and_404s_are_not() -> None:
    client = Client()
    for path in ("/exempt", "/exempt-class", "/exempt-async"):
        answer = client.get(path)
        assert (answer.status_code, "RateLimit" in answer) == (200, False)
    assert '"site";r=99' in client.get("/no-such-page")["RateLimit"]


async def test_an_exempt_view_is_left_alone_in_async() -> None:
    client = AsyncClient()
    for path in ("/exempt", "/exempt-class", "/exempt-async"):
        answer = await client.get(path)
        assert (answer.status_code, "RateLimit" in answer) == (200, False)


@pytest.mark.parametrize("path", ["/login", "/async-login"])
def test_only_failures_count_where_a_rule_says_so(path: str) -> None:
    client = Client()
    tries = ("right", "right", "wrong", "right", "wrong", "right")
    statuses = [client.post(path, {"password": password}).status_code for password in tries]
    assert statuses == [200, 200, 403, 200, 403, 429]


def test_a_decorator_with_the_name_of_a_rule_counts_with_it_once() -> None:
    client = Client()
    answers = [client.get("/twice") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0]["RateLimit"].count('"twice"') == 1


def test_the_setting_may_be_the_path_of_a_file(tmp_path: Any) -> None:
    path = tmp_path / "ratelimit.toml"
    path.write_text('[[rules]]\nlimits = "1/minute"\nname = "filed"\n')
    for setting in (path, str(path)):
        with override_settings(RATELIMIT_KIT=setting):
            assert Client().get("/plain")["RateLimit"].startswith('"filed";r=0;')


def test_the_list_of_exposed_fields_is_joined() -> None:
    answer = Client().get("/exposing", headers={"origin": "https://example.org"})
    assert answer["Access-Control-Expose-Headers"] == "X-Own, RateLimit-Policy, RateLimit, Retry-After"


def test_a_deploy_that_changes_a_number_goes_on_from_what_was_counted() -> None:
    store = MemoryStore()

    def statuses(limit: str, times: int, **options: Any) -> list[int]:
        rules = [{"limits": limit, "paths": ["/plain"], "name": "plain", **options}]
        with override_settings(RATELIMIT_KIT={"store": store, "rules": rules, "workers": 1}):
            return [Client().get("/plain").status_code for _ in range(times)]

    assert statuses("3/hour", 4) == [200, 200, 200, 429]
    assert statuses("2/hour", 1) == [429]
    assert statuses("5/hour", 3) == [200, 200, 429]
    assert statuses("5/hour", 1, inherit=False) == [200]
    assert statuses("unlimited", 1) == [200]
    assert statuses("0/hour", 1) == [429]
