// The jobs of this browser on its disk (IndexedDB); in memory alone where it has none.

const opened = new Promise((resolve) => {
  try {
    const request = indexedDB.open("sfumato", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("jobs", { keyPath: "id" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = request.onblocked = () => resolve(null);
  } catch {
    resolve(null); // storage is turned off
  }
});

async function run(mode, act) {
  const database = await opened;
  if (!database) return null;
  return new Promise((resolve, reject) => {
    const transaction = database.transaction("jobs", mode);
    const request = act(transaction.objectStore("jobs"));
    transaction.oncomplete = () => resolve(request.result);
    transaction.onabort = () => reject(transaction.error);
  });
}

/** Return all entries that are kept. */
export const load = async () => (await run("readonly", (jobs) => jobs.getAll())) ?? [];

/** Keep an entry, pictures included. Throws: the disk is full. */
export const put = (entry) => run("readwrite", (jobs) => jobs.put(entry));

/** Forget an entry. */
export const drop = (id) => run("readwrite", (jobs) => jobs.delete(id));
