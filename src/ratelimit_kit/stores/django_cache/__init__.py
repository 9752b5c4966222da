"""A store on the server of one of a Django project's caches: `django-cache://alias`."""
