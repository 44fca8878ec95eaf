"""Write the generated blocks of the pages, or gather the site's source.

python -m docs.builder --write       # fill the tables in README.md and docs/ again
python -m docs.builder               # pages, generated pages and figures into build/docs; `make docs` builds them
"""

from __future__ import annotations

import argparse

from docs.builder.blocks import ROOT, fill_blocks, pages
from docs.builder.site import gather_site


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="fill the generated tables in README.md and docs/")
    if parser.parse_args().write:
        for path in pages():
            text = path.read_text(encoding="utf-8")
            if (filled := fill_blocks(text)) != text:
                path.write_text(filled, encoding="utf-8")
                print(path.relative_to(ROOT))
    else:
        print(gather_site(ROOT / "build"))


if __name__ == "__main__":
    main()
