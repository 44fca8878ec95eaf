"""Make the pages of the documentation that code and archives say, and gather the site's source."""
