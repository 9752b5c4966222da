"""What clients receive: rate-limit fields on responses, refusals, health reports and the browser module."""
