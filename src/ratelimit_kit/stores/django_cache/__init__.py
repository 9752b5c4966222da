"""A store where one of a Django project's caches keeps its data: `django-cache://alias`."""
