"""Lists over HTTP: the routes, what guards them, and what keeps them fast. One idea a file; `app` joins them."""
