// What few visitors save beside the picture: the film of the steps, what changed, the mask.

const MAKING = 'Making the film';
let making = 0; // films that the server is making

const saves = {
  film() {
    const chosen = (name) => document.querySelector(`[data-film=${name}]`).value;
    making += 1;
    setStatus(t(MAKING));
    trigger('film', { form: chosen('form'), region: Boolean(chosen('region')) });
  },
  difference: () => trigger('difference'),
  mask: () => saveMask(),
};

// The server has answered: with a film, or with why there is none; or gradio could not ask it.
function filmMade(well) {
  making -= 1;
  if (!well) setMessage(notTaken());
  if (!making && find('.status').textContent === t(MAKING)) setStatus(player.finished ? doneText(player.finished) : '');
}

document.addEventListener('click', (event) => {
  const button = root.isConnected && event.target.closest('[data-save]');
  if (!button) return;
  if (button.dataset.save !== 'mask' && state.busy) return sayBusy();
  if (button.dataset.save !== 'mask' && !player.finished) return sayNoResult();
  showResult();
  return saves[button.dataset.save]();
});
