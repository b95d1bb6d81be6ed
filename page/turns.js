// What brings another picture is asked for one at a time, in the order in which it was pressed. Requests overtake each
// other: the picture that came last would be the one that is here, whichever was wanted.

const TURN = 20000; // ms after which a request that has not been answered holds up the next no longer

const turns = {
  pressed: 0, // how often another picture has been asked for
  taken: null, // what has been asked for and not been answered
  ticket: null, // of that request, so that no other is taken for overdue
  waiting: [], // what has been pressed since, each with what asks for it
  acting: false, // that is done now
};

const turnIsFree = () => turns.taken === null;
const lastAsked = () => turns.waiting.at(-1)?.what ?? turns.taken;

function takeTurn(what) {
  const ticket = (turns.ticket = {});
  turns.taken = what;
  setTimeout(() => turns.ticket === ticket && turnOver(), TURN);
}

// Have the server bring a picture, now or when it is its turn. ``data``: a function of none, called then.
function request(what, data) {
  const act = () => {
    takeTurn(what);
    trigger(what, data());
  };
  if (turnIsFree()) act();
  else turns.waiting.push({ what, act });
}

// The same for what the visitor has pressed.
function askFor(what, data) {
  turns.pressed += 1;
  request(what, data);
}

// Whether the press of one of gradio's buttons may go on; if not, it will be pressed when it is its turn. One that is
// pressed again before it has been answered is pressed once.
function mayPress(id) {
  if (!turns.acting) turns.pressed += 1;
  if (turnIsFree()) {
    takeTurn(id);
    return true;
  }
  if (lastAsked() !== id) turns.waiting.push({ what: id, act: () => press(id) });
  return false;
}

// Called when gradio is done with a request, whether it was answered or not: the next one's turn, when the answer has been
// dealt with. What the page itself refuses takes none.
function turnOver() {
  setTimeout(() => handled.then(() => {
    Object.assign(turns, { taken: null, ticket: null, acting: true });
    while (turnIsFree() && turns.waiting.length) turns.waiting.shift().act();
    turns.acting = false;
  }), 0); // gradio lets go of the event after it has told us
}
