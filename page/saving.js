// What few visitors save beside the picture: the film of the steps, what changed, the mask.

const saves = {
  film() {
    const chosen = (name) => document.querySelector(`[data-film=${name}]`).value;
    films.asked += 1;
    films.making += 1;
    sayOfFilm('Making the film');
    setOff('cancel', false);
    trigger('film', { form: chosen('form'), region: Boolean(chosen('region')), asked: films.asked });
  },
  difference: () => trigger('difference'),
  mask: () => saveMask(),
};

const films = { asked: 0, making: 0, said: { text: '', values: {} } }; // said: what the status says of them

function sayOfFilm(text, values = {}) {
  films.said = { text, values };
  setStatus(t(text, values));
}

// Unless it says something else by now.
const statusIsOfFilm = () => find('.status').textContent === t(films.said.text, films.said.values);

function filming({ step, total }) {
  if (films.making && statusIsOfFilm()) sayOfFilm('Making the film: {step} of {total}', { step, total });
}

// The server has answered: with a film, with why there is none, or with nothing if it was cancelled; or gradio could
// not ask it.
function filmMade(well) {
  films.making -= 1;
  if (!well) setMessage(notTaken());
  if (films.making) return;
  if (statusIsOfFilm()) setStatus(player.finished ? doneText(player.finished) : '');
  setOff('cancel', !state.busy);
}

// Cancel and Esc stop the films that are being made or wait for it.
document.addEventListener('click', (event) => {
  if (!root.isConnected || !event.target.closest('#cancel') || !films.making) return;
  trigger('abandon', { what: 'film', number: films.asked });
  if (statusIsOfFilm()) setStatus(t('Cancelled'));
}, true);

document.addEventListener('click', (event) => {
  const button = root.isConnected && event.target.closest('[data-save]');
  if (!button) return;
  if (button.dataset.save !== 'mask' && state.busy) return sayBusy();
  if (button.dataset.save !== 'mask' && !player.finished) return sayNoResult();
  showResult();
  return saves[button.dataset.save]();
});
