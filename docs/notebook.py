"""Makes the links of the site's notebooks lead to its pages: MkDocs does this in Markdown alone, and calls ``on_post_page`` for the rest."""

import re
from typing import Any


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Returns a page in which links to Markdown files are links to the pages that these become."""
    if not page.file.src_uri.endswith(".ipynb"):
        return output
    return re.sub(r'href="([\w/.-]+)\.md([#"])', r'href="../\1/\2', output)
