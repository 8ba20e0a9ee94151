// One event stream for all tabs: a browser allows six connections to one program, and each tab would take one.

const ports = new Set();
let source = null;
let timer = 0;

function send(message) {
  for (const port of ports) port.postMessage(message);
}

function open() {
  clearTimeout(timer);
  if (source) source.close();
  source = new EventSource("/v1/events");
  source.onmessage = (event) => send({ data: event.data });
  source.onerror = () => {
    send({ lost: true });
    if (source.readyState === EventSource.CLOSED) timer = setTimeout(open, 1000);
  };
}

/** A stream begins with a snapshot, and a newcomer needs one: it gets the first message of a stream of its own. */
function greet(port) {
  const first = new EventSource("/v1/events");
  first.onmessage = ({ data }) => { first.close(); port.postMessage({ data }); };
  first.onerror = () => { first.close(); setTimeout(() => { if (ports.has(port) && source) greet(port); }, 1000); };
}

self.onconnect = ({ ports: [port] }) => {
  ports.add(port);
  port.onmessage = ({ data }) => {
    if (data !== "bye") return;
    ports.delete(port);
    if (ports.size === 0 && source) { source.close(); source = null; }
  };
  if (!source) open();
  else if (source.readyState === EventSource.OPEN) greet(port); // else the snapshot for all is still to come
};
