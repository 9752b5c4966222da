"""Workers given where no command line and no variable shows them."""

workers = 3
