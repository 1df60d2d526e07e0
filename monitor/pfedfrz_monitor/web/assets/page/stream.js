// The server's events. By fetch and not by EventSource, which can send no token and tells nobody
// why it was refused. After a break the server tells everything anew.

const SILENCE_MS = 30000;

export async function follow(token, react) {
  let wait = 500, last = "";
  for (;;) {
    const status = await once(token(), last, (event) => {
      wait = 500;
      last = event.id || last;
      react.event(event.name, JSON.parse(event.data));
    });
    if (status === 401) { await react.locked(); continue; }
    react.lost(status);
    await new Promise((done) => setTimeout(done, status === 503 ? 5000 : wait));
    wait = Math.min(8000, wait * 1.7);
  }
}

async function once(token, last, take) {
  const breaking = new AbortController();
  let silence;
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(() => breaking.abort(), SILENCE_MS);
  };
  heard();
  try {
    const headers = { accept: "text/event-stream" };
    if (token) headers.authorization = `Bearer ${token}`;
    if (last) headers["last-event-id"] = last;
    const answer = await fetch("/events", { headers, cache: "no-store", signal: breaking.signal });
    if (!answer.ok) return answer.status;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let parts = [];
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return 0;
      heard();
      // A long event comes in many pieces: they are put together once, when its end is there.
      parts.push(value);
      if (!value.includes("\n\n") && !(value.startsWith("\n") && parts.length > 1)) continue;
      const blocks = parts.join("").split("\n\n");
      parts = [blocks.pop()];
      for (const block of blocks) {
        const event = { name: "", id: "", data: "" };
        for (const line of block.split("\n")) {
          if (line.startsWith("event: ")) event.name = line.slice(7);
          else if (line.startsWith("id: ")) event.id = line.slice(4);
          else if (line.startsWith("data: ")) event.data = line.slice(6);
        }
        if (event.data) take(event);
      }
    }
  } catch (error) {
    if (error instanceof SyntaxError) console.error(error);
    return 0;
  } finally {
    clearTimeout(silence);
    breaking.abort();
  }
}
