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
    return new TextEncoder().encode('\n\n' + messages.map((each) => `data: ${JSON.stringify(each)}\n\n`).join(''));
  }

  function watched(response, given) {
    const reader = response.body.getReader();
    const body = new ReadableStream({
      async pull(stream) {
        try {
          const { done, value } = await reader.read();
          if (done) stream.close();
          else stream.enqueue(value);
        } catch (error) {
          if (given.signal?.aborted) return stream.error(error);
          stream.enqueue(ending());
          stream.close();
        }
        return undefined;
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
