// The served page: it asks for the version of what it shows, and is loaded anew when that changes.

let shownVersion = null;

async function askForNews() {
  try {
    const version = await (await fetch('version', {cache: 'no-store'})).text();
    if (shownVersion !== null && version !== shownVersion) location.reload();
    shownVersion = version;
  } catch {
    // The server has ended; the page stays as it is.
  }
}

setInterval(askForNews, 2000);
askForNews();
