// The URLs of this very server, and calls to it.

// `http://host` and `ws://host`, or both with TLS, as the page was loaded.
export const HTTP = location.origin;
export const WS = HTTP.replace(/^http/, "ws");

// A path with a query; fields that are empty are left out.
export function withQuery(path, fields) {
  const query = new URLSearchParams(
    Object.entries(fields).filter(([, value]) => value !== "" && value !== null),
  );
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

const cookie = (name) =>
  document.cookie
    .split("; ")
    .find((one) => one.startsWith(`${name}=`))
    ?.slice(name.length + 1);

// Call the server. `request`: `method`, `path`, and `body` (any JSON) or `form` (fields), `headers`, and
// `bearer`: a token that takes the place of the session of staff. Resolves to `status`, `text`, and `json`
// where the text is JSON; a call without an answer has the status 0.
export async function call({ method = "GET", path, body, form, headers = {}, bearer }) {
  const sent = { ...headers };
  if (bearer !== undefined) sent.Authorization = `Bearer ${bearer}`;
  else if (method !== "GET") sent["X-CSRFToken"] = cookie("csrftoken") ?? "";
  if (body !== undefined) sent["Content-Type"] = "application/json";
  try {
    const answer = await fetch(path, {
      method,
      headers: sent,
      credentials: bearer === undefined ? "same-origin" : "omit",
      body: body !== undefined ? JSON.stringify(body) : form && new URLSearchParams(form),
    });
    const text = await answer.text();
    return { status: answer.status, text, json: parsed(text) };
  } catch (error) {
    return { status: 0, text: String(error), json: undefined };
  }
}

// The value of a JSON text, or undefined.
export function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
