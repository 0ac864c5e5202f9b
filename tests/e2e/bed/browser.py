"""The nightly pages, walked."""

from importlib.machinery import SourceFileLoader
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .tools import E2E


def walk(site, checks, screenshots):
    """Every page in headless Chromium: links, console, accessibility, small screens, keyboard."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    page = SourceFileLoader("page", str(E2E / "page")).load_module()
    driver = page.browser()
    try:
        shown = page.Page(driver)
        source, reason = page.axe()
        if reason:
            print(f"accessibility not checked: {reason}")
        todo, seen, bad = [(site / "index.html").as_uri()], set(), []
        kinds = {}
        while todo:
            address = todo.pop()
            if address in seen:
                continue
            seen.add(address)
            driver.get(address)
            links = shown.js("[...document.querySelectorAll('a[href]')].map((a) => a.href)")
            pictures = shown.js(
                "[...document.images].filter((i) => !i.naturalWidth).map((i) => i.src)"
            )
            bad += pictures
            for link in {link.split("#")[0] for link in links}:
                file = Path(unquote(urlsplit(link).path))
                if not file.is_file():
                    bad.append(f"{address}: {link}")
                elif file.suffix == ".html" and ".report." not in file.name:
                    todo.append(link)
            kinds.setdefault(Path(address).parent.name, address)
        checks.same("every link and every picture is there", bad, [])
        pages = {file.as_uri() for file in site.rglob("*.html") if ".report." not in file.name}
        checks.same("every page can be walked to", pages - seen, set())
        # Before axe-core, which tries to fetch the style sheet and is not let.
        said = [entry["message"] for entry in driver.get_log("browser")]
        checks.same("the console is empty", said, [])
        for kind, address in sorted(kinds.items()):
            driver.get(address)
            for scheme in ("light", "dark"):
                shown.scheme(scheme)
                if source:
                    page.accessible(shown, checks, source, f"{kind}, {scheme}")
                for width in (400, 1400):
                    shown.screen(width, 900)
                    shown.shoot(screenshots, f"nightly-{kind}-{width}-{scheme}")
                    wide = shown.js(f"document.documentElement.scrollWidth - {width}")
                    checks.that(f"{kind} fits {width} pixels", wide <= 0, f"{wide} too wide")
        driver.get((site / "index.html").as_uri())
        driver.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
        first = driver.switch_to.active_element
        checks.same("the first Tab is the way past the menu", first.text, "Skip to the content")
        first.send_keys(Keys.ENTER)
        checks.same("and leads there", driver.switch_to.active_element.tag_name, "main")
    finally:
        driver.quit()
