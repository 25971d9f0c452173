"""The web console: the pages of the terminal in a browser, live alerts, and what people say."""
