// What gradio's own controls are for, in a line each: gradio has no place for it on most of them. The other controls
// have theirs in the templates.

const WHAT_FOR = {
  '#redraw': 'Draws what is painted over, step by step (Enter)',
  '#cancel': 'Stops the redraw; the picture stays as it was (Esc)',
  '#seed input': 'The number that chance begins with: the same seed draws the same again',
  '#dice': 'Puts another number into the seed',
  '#lock input': 'Keeps the seed for the next redraw',
  '#steps input': 'In how many steps the region is drawn: more take longer',
  '#steps button': 'Back to the usual number of steps',
  '#candidates input': 'How many candidates a redraw draws to choose from',
  '#keep-going': 'Takes more steps from where the result stands',
  '#use': 'The result becomes the picture, to go on painting in it',
  '#download': 'Saves the result at the size of the picture, with the settings in the file',
  '#go-back': 'Brings the picture before back, with its mask, results and settings; up to four can come back',
  '#go-forward': 'Brings the picture back from which you went back',
};

// Whether all of them are on the page by now: gradio draws them in its own time.
function explain() {
  return Object.entries(WHAT_FOR).map(([selector, text]) => {
    const controls = [...document.querySelectorAll(selector)];
    for (const control of controls) control.title = t(text);
    return controls.length > 0;
  }).every(Boolean);
}

const arrivals = new MutationObserver(() => { if (explain()) arrivals.disconnect(); });
if (!explain()) arrivals.observe(document.body, { subtree: true, childList: true });
