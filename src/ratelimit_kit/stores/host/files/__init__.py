"""The file of a host store: where it lies, what is where in it, how it is opened, checked, locked and replaced."""
