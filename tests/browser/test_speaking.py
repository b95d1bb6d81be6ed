"""The page in the visitor's language, and back in English."""

from __future__ import annotations

import re

import pytest
from painter_page import PainterPage

from page.languages import languages

EYES = ((330, 420), (700, 420))
PLACE = re.compile(r"\\\{\w+\\\}")
TEXTS = """() => {
  const texts = [];
  for (const element of document.body.querySelectorAll('*')) {
    if (element.closest('script, style, [translate=no]')) continue;
    for (const node of element.childNodes) if (node.nodeType === Node.TEXT_NODE) texts.push(node.data);
    for (const name of ['title', 'aria-label', 'aria-valuetext', 'placeholder', 'alt']) {
      if (element.hasAttribute(name)) texts.push(element.getAttribute(name));
    }
  }
  return texts.map((text) => text.trim().replace(/\\s+/g, ' '));
}"""
LISTEN = """() => {
  window.heard = [];
  const listen = () => {
    for (const region of document.querySelectorAll('#status, .spoken, .foot .progress')) {
      const text = region.textContent;
      if (text && window.heard.at(-1) !== text) window.heard.push(text);
    }
  };
  new MutationObserver(listen).observe(document.querySelector('.foot'), { subtree: true, childList: true, characterData: true });
}"""


@pytest.fixture(scope="session")
def server(quick_server):
    return quick_server


@pytest.fixture
def german(browser, server):
    context = browser.new_context(locale="de-DE", viewport={"width": 1280, "height": 860})
    tab = PainterPage(context, server.url)
    yield tab
    context.close()
    assert tab.errors == []


def strays(tab) -> list[str]:
    """What stands on the page and is in no German text, whatever stands in its places."""
    known = [
        re.compile(PLACE.sub(".*", re.escape(text)), re.S) for text in languages()["de"]["texts"].values()
    ]
    texts = {text for text in tab.page.evaluate(TEXTS) if re.search(r"[^\W\d_]{2}", text)} - {"Sundae"}
    return sorted(text for text in texts if not any(each.fullmatch(text) for each in known))


def choose(tab, code: str) -> None:
    tab.page.locator("[data-language]").select_option(code)


def shown(tab) -> tuple[str, str, str]:
    """The page's language by its mark, by its choice, and what its first button says."""
    return (
        tab.page.locator("html").get_attribute("lang"),
        tab.page.locator("[data-language]").input_value(),
        tab.text("#redraw"),
    )


def test_a_german_browser_gets_german_and_may_choose_english(german):
    assert shown(german) == ("de", "de", "Neu zeichnen")
    assert german.text("#status") == "Beispiel 1, 1024 × 1024"
    assert strays(german) == []
    german.stroke(*EYES)
    german.page.locator("#candidates label").nth(1).click()
    german.set_steps(12)
    german.page.evaluate(LISTEN)
    german.page.locator("#redraw").click()
    done = german.wait_for_text("#status", "Fertig 1 ")
    assert re.fullmatch(r"Fertig 1 · \d+,\d s · Startzahl \d+ · 12 Schritte · \w+", done)
    heard = german.page.evaluate("window.heard")
    assert {"Wartet auf das Modell", "Zeichnet neu", "50 % fertig"} <= set(heard)
    assert any(text.startswith("Schritt 5 von 12") for text in heard)
    german.page.locator(".more:not(.whole) summary").click()
    german.page.locator("#s-first").fill("7")
    german.page.locator("#redraw").click()
    german.wait_for_text(".message p", "Erste Temperatur: nur Zahlen von 0,05 bis 2,0 sind möglich.")
    assert strays(german) == []

    choose(german, "en")
    assert shown(german) == ("en", "en", "Redraw")
    german.wait_for_text(".message p", "The first temperature must be a number from 0.05 to 2.0.")
    assert german.page.get_by_label("Use candidate 2", exact=True).count() == 1
    assert german.page.get_by_title("Brush (B)", exact=True).count() == 1
    german.page.reload()
    german.page.wait_for_selector(".sundae[data-ready='1']")
    assert shown(german) == ("en", "en", "Redraw")  # as long as the tab is open
    choose(german, "de")
    german.wait_for_text("#status", "Beispiel 1")


def test_sentences_of_the_server_are_translated_one_by_one(tab):
    """Those of a picture that is loaded, with numbers and names in them."""
    choose(tab, "de")
    tab.drop("bent.png", b"\x89PNG\r\n\x1a\nand no more")
    tab.wait_for_text(".message p", "Erwartet wird ein ")
    assert "'bent.png' ist nichts davon oder beschädigt." in tab.text(".message p")
    tab.page.evaluate(
        "document.querySelector('.message p').textContent = 'XMP metadata is not kept. Nobody knows this.'"
    )
    tab.wait_for_text(".message p", "XMP-Angaben werden nicht behalten. Nobody knows this.")
    choose(tab, "en")
    tab.wait_for_text(".message p", "XMP metadata is not kept. Nobody knows this.")
