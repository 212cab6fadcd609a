"""Hooks of MkDocs: every page links to its source, and the links of notebooks lead to the site's pages, as those in Markdown do."""

import re
import shutil
from pathlib import Path
from typing import Any

from mkdocs.utils import get_relative_url

SOURCES = "_sources"


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Returns a page's text with a link to its source at its end."""
    address = get_relative_url(f"{SOURCES}/{page.file.src_uri}", page.url)
    return f'{html}\n<p class="source"><a href="{address}">Source of this page</a></p>'


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Returns a page in which links to Markdown files are links to the pages that these become."""
    if not page.file.src_uri.endswith(".ipynb"):
        return output
    return re.sub(r'href="([\w/.-]+)\.md([#"])', r'href="../\1/\2', output)


def on_post_build(config: Any) -> None:
    """Copies the sources into the site."""
    docs, site = Path(config["docs_dir"]), Path(config["site_dir"], SOURCES)
    for path in (found.relative_to(docs) for pattern in ("*.md", "*.ipynb") for found in docs.rglob(pattern)):
        if not {"node_modules", "templates"} & set(path.parts):
            (site / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(docs / path, site / path)
