"""The routes of the API, a module for each kind of thing: they translate between HTTP and those who answer."""
