// Gradio stops a job by a number that it has from the answer to the request for it. Stopped before that answer is here,
// it would ask without a number: it would be refused (status 422, in the console), and the job would run for nobody.
// Here such a request waits for the number.

function withNumbers(plain) {
  const numbers = {}; // of the last job asked for, by function: a promise
  const nothing = () => new Response('{"success": true}', { headers: { 'Content-Type': 'application/json' } });

  function join(address, options) {
    const answer = plain(address, options);
    const number = answer.then((response) => response.clone().json()).then((told) => told.event_id);
    numbers[JSON.parse(options.body).fn_index] = number.catch(() => undefined);
    return answer;
  }

  return async function fetchWithNumbers(address, options) {
    const [, what] = /\/(queue\/join|cancel|reset)(\?.*)?$/.exec(String(address?.url ?? address)) ?? [];
    if (!what || options?.method !== 'POST') return plain(address, options);
    if (what === 'queue/join') return join(address, options);
    const body = JSON.parse(options.body);
    if (body.event_id) return plain(address, options);
    if (what === 'reset') return nothing(); // it follows a cancel, which has done all of it
    const number = await numbers[body.fn_index];
    return number ? plain(address, { ...options, body: JSON.stringify({ ...body, event_id: number }) }) : nothing();
  };
}

if (window.fetch.name !== 'fetchWithNumbers') window.fetch = withNumbers(window.fetch.bind(window));
