"""Run the example with Django's own server: python manage.py runserver."""

import os
import sys

from django.core.management import execute_from_command_line

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "website.settings")
execute_from_command_line(sys.argv)
