// What the network loses is an error like any other. Gradio would take the page for dead: it would send nothing more, and
// load the page anew once the server answers, without all that was painted and drawn.

(() => {
  const LOST = 'The connection was lost for a moment. Please try again.';
  const WATCHED = /\/gradio_api\/(run|queue)\//;
  const direct = window.fetch;

  // Gradio has no pop-up for that, unless a job could not join the queue.
  const tell = (stream) => document.dispatchEvent(new CustomEvent('sundae-lost', { detail: { text: LOST, stream } }));

  function refused(queued) {
    if (!queued) tell(false);
    return new Response(JSON.stringify({ error: LOST, detail: LOST }), { status: 502, headers: { 'Content-Type': 'application/json' } });
  }

  // For all jobs that wait for this stream, and then its regular end.
  const messages = [{ msg: 'unexpected_error', message: LOST, success: false }, { msg: 'close_stream' }];
  function ending() {
    tell(true);
    return new TextEncoder().encode(messages.map((each) => `data: ${JSON.stringify(each)}\n\n`).join(''));
  }

  // How many bytes: a blank line ends a message.
  function wholeMessages(bytes) {
    for (let end = bytes.length; end > 1; end--) if (bytes[end - 1] === 10 && bytes[end - 2] === 10) return end;
    return 0;
  }

  // Gradio puts off what comes for one job and not what comes for all: an end right behind would overtake it.
  const BEHIND = 100; // ms

  // Whole messages only: of one that is cut off in its middle gradio could make nothing.
  function watched(response, given) {
    const reader = response.body.getReader();
    let [rest, regular] = [new Uint8Array(), false];
    async function lose(stream) {
      await new Promise((go) => setTimeout(go, BEHIND));
      stream.enqueue(ending());
      stream.close();
    }
    function pass(stream, value) {
      const bytes = new Uint8Array(rest.length + value.length);
      bytes.set(rest);
      bytes.set(value, rest.length);
      const whole = wholeMessages(bytes);
      rest = bytes.slice(whole);
      if (!whole) return false;
      regular = new TextDecoder().decode(bytes.subarray(Math.max(0, whole - 100), whole)).includes('close_stream');
      stream.enqueue(bytes.subarray(0, whole));
      return true;
    }
    const body = new ReadableStream({
      async pull(stream) {
        for (;;) {
          let read;
          try {
            read = await reader.read();
          } catch (error) {
            return given.signal?.aborted ? stream.error(error) : lose(stream);
          }
          if (read.done) return regular ? stream.close() : lose(stream);
          if (pass(stream, read.value)) return undefined;
        }
      },
      cancel: (reason) => reader.cancel(reason),
    });
    return new Response(body, { status: response.status, headers: response.headers });
  }

  window.fetch = async (address, options) => {
    const url = String(address?.url ?? address);
    if (!WATCHED.test(url)) return direct(address, options);
    const given = address instanceof Request ? address : options ?? {};
    const streams = url.includes('/queue/data');
    try {
      const response = await direct(address, options);
      return streams && response.ok ? watched(response, given) : response;
    } catch (error) {
      if (given.signal?.aborted) throw error;
      return streams ? new Response(ending(), { headers: { 'Content-Type': 'text/event-stream' } }) : refused(url.includes('/queue/'));
    }
  };
})();
