"""The observer that ratelimit.toml names: decisions and events as Prometheus metrics."""

from ratelimit_kit.observe.prometheus import PrometheusObserver

observer = PrometheusObserver()
