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

self.onconnect = ({ ports: [port] }) => {
  ports.add(port);
  port.onmessage = ({ data }) => {
    if (data !== "bye") return;
    ports.delete(port);
    if (ports.size === 0 && source) { source.close(); source = null; }
  };
  open(); // a stream begins with a snapshot: the newcomer has it at once, the others take it as news and keep their place
};
