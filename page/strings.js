// The language of the page. Its source is English, and the English text is the key: LANGUAGES (page/languages/*.json)
// has the same text in the others. Whatever stands on the page is put into the visitor's language, wherever it came
// from: a template, t(), gradio, or a sentence of the server, whose numbers are found by the pattern of its key.
// What has no translation stays English. (gr.I18n translates once, by the browser's language, and only gradio's own
// components: there would be no choosing, and the templates would be left out.)

const SPOKEN = ['title', 'aria-label', 'aria-valuetext', 'placeholder', 'alt']; // attributes that are read
const REMEMBERED = 'sundae-language'; // in the tab's own storage, which ends with the tab
const RECENT = 2000; // answers of t() whose key is remembered

const language = { code: 'en' };
const said = new Map(); // what t() has answered -> the key and the values
const shown = new WeakMap(); // a text node or element -> for each of its texts, as it was last shown and where from

// The text in the visitor's language. Its {names} are replaced by the values of these names.
function t(text, values = {}) {
  const known = LANGUAGES[language.code]?.texts[text] ?? text;
  const answer = known.replace(/\{(\w+)\}/g, (all, name) => (name in values ? worded(String(values[name])) : all));
  if (said.size >= RECENT) said.delete(said.keys().next().value);
  said.set(answer, { text, values });
  return answer;
}

// A value: decimal numbers get the language's mark, and words that are in the table are translated.
function worded(value) {
  if (/^-?\d+\.\d+$/.test(value)) return value.replace('.', new Intl.NumberFormat(language.code).format(0.5)[1]);
  const source = sourceOf(value);
  return source ? t(source.text, source.values) : value;
}

const keys = new Set(Object.values(LANGUAGES).flatMap(({ texts }) => Object.keys(texts)));
const patterns = [...keys].filter((key) => key.includes('{')).map(patternOf).sort((a, b) => b.fixed - a.fixed);

function patternOf(key) {
  const parts = key.split(/\{\w+\}/).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  const names = [...key.matchAll(/\{(\w+)\}/g)].map((found) => found[1]);
  return { key, names, fixed: parts.join('').length, pattern: new RegExp(`^${parts.join('(.+?)')}$`, 's') };
}

// Key and values of a text: one that t() has answered, or an English one from elsewhere. Null for any other.
function sourceOf(text) {
  if (said.has(text)) return said.get(text);
  if (keys.has(text)) return { text, values: {} };
  for (const { key, names, pattern } of patterns) {
    const found = pattern.exec(text);
    if (found) return { text: key, values: Object.fromEntries(names.map((name, i) => [name, found[i + 1]])) };
  }
  return null;
}

// Of each sentence where the whole is not known, as messages of several are not.
function sourcesOf(text) {
  const whole = sourceOf(text);
  if (whole) return [whole];
  return text.split(/(?<=[.!?]) (?=\p{Lu})/u).map((part) => sourceOf(part) ?? { text: part, values: {} });
}

// ---- the page is watched -------------------------------------------------------------------------------

// ``read`` gives a text of a node, ``write`` replaces it; ``slot`` tells the texts of one node apart.
function translate(node, slot, read, write) {
  const text = read();
  if (!/\p{L}/u.test(text ?? '')) return;
  const known = shown.get(node) ?? {};
  const words = text.trim().replace(/\s+/g, ' ');
  const sources = known[slot]?.text === words ? known[slot].sources : sourcesOf(words);
  const wanted = sources.map((source) => t(source.text, source.values)).join(' ');
  shown.set(node, { ...known, [slot]: { text: wanted, sources } });
  if (wanted !== words) write(text.replace(text.trim(), () => wanted));
}

function translateText(node) {
  if (node.parentElement?.closest('script, style, [translate=no]')) return;
  translate(node, 'text', () => node.data, (text) => { node.data = text; });
}

function translateAttribute(element, name) {
  if (!element.hasAttribute(name) || element.closest('[translate=no]')) return;
  translate(element, name, () => element.getAttribute(name), (text) => element.setAttribute(name, text));
}

function translateAll(node) {
  if (node.nodeType === Node.TEXT_NODE) return translateText(node);
  if (node.nodeType !== Node.ELEMENT_NODE) return undefined;
  for (const name of SPOKEN) translateAttribute(node, name);
  return node.childNodes.forEach(translateAll);
}

new MutationObserver((changes) => {
  for (const { type, target, attributeName, addedNodes } of changes) {
    if (type === 'attributes') translateAttribute(target, attributeName);
    else if (type === 'characterData') translateText(target);
    else addedNodes.forEach(translateAll);
  }
}).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: SPOKEN });

// ---- the choice ----------------------------------------------------------------------------------------

const offered = (code) => code === 'en' || Object.hasOwn(LANGUAGES, code);

function speak(code) {
  language.code = code;
  document.documentElement.lang = code;
  const choice = document.querySelector('[data-language]');
  if (choice) choice.value = code;
  translateAll(document.body);
}

// What was chosen in this tab, else the first of the browser's languages that there is.
function preferred() {
  const wishes = [sessionStorage.getItem(REMEMBERED), ...navigator.languages.map((each) => each.split('-')[0])];
  return wishes.find((code) => code && offered(code)) ?? 'en';
}
speak(preferred());

document.addEventListener('change', (event) => {
  if (!root.isConnected || !event.target.matches('[data-language]')) return;
  sessionStorage.setItem(REMEMBERED, event.target.value);
  speak(event.target.value);
});
