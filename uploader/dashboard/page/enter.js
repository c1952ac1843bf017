// The token stands behind the # of the address, which no server is ever sent. It is handed in for a session, and
// gone from the address before anything else happens.
const token = location.hash.slice(1);
history.replaceState(null, "", location.pathname);
const said = document.getElementById("said");

async function enter() {
  const answer = await fetch("api/session", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token }),
  });
  if (answer.ok) {
    location.replace("./");
  } else {
    said.textContent = "This link has no valid token. Open the one that 'framespool dashboard' has printed last.";
  }
}

enter().catch(() => {
  said.textContent = "The dashboard does not answer. Is 'framespool dashboard' still running?";
});
