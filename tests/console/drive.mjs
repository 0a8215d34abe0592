// Playwright as a puppet: commands as JSON lines in, one answer as a JSON line for each.
//
//   {"do": "open", "url": "http://…", "session": "…", "width": 1280, "scheme": "light"}   -> a number of a page
//   {"do": "steps", "page": 1, "steps": [["locator", "#x"], ["click"]]}   calls, each on what the one before gave
//   {"do": "until", "page": 1, "expression": "…"}   waits until it is true in the page, or in the one that it goes to
//   {"do": "axe", "page": 1}          -> violations of axe-core: [{"id", "impact", "targets"}]
//   {"do": "problems", "page": 1}     -> what went wrong in it so far: errors, console errors, reports of the policy
//   {"do": "called", "page": 1}       -> calls of REST so far: ["GET sessions/", …], without what is searched for
//   {"do": "pushed", "page": 1}       -> what the server has pushed to it with totals, oldest first: [{"at", "totals"}]
//   {"do": "close", "page": 1}
//
// Out: {"answer": …} or {"error": "…"}. The argument is the address of a browser that runs already.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const { source } = createRequire(import.meta.url)("axe-core");
const PATIENCE = 150_000; // milliseconds: some things are asked once a minute only
const PAUSE = 50;
const browser = await chromium.connectOverCDP(process.argv[2]);
const pages = [];

// Runs in the page, before its own scripts.
function watch() {
  addEventListener("securitypolicyviolation", (event) => {
    console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`);
  });
}

// False, too, while the page that was asked goes away: a link that was clicked leads elsewhere a moment later.
async function seen(page, expression) {
  try {
    return Boolean(await page.evaluate(expression));
  } catch (error) {
    if (/context was destroyed|because of a navigation/.test(String(error))) return false;
    throw error;
  }
}

const actions = {
  async open({ url, session, width = 1280, height = 900, scheme = "light" }) {
    const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme, reducedMotion: "reduce" });
    context.setDefaultTimeout(PATIENCE);
    await context.addCookies([{ name: "sessionid", value: session, url }]);
    await context.addInitScript(watch);
    const page = await context.newPage();
    const problems = [];
    page.on("pageerror", (error) => problems.push(String(error)));
    page.on("dialog", (dialog) => {
      problems.push(`dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) problems.push(message.text());
    });
    const pushed = [];
    page.on("websocket", (socket) => {
      if (!socket.url().endsWith("/console/socket")) return;
      socket.on("framereceived", ({ payload }) => {
        const { data } = JSON.parse(payload);
        if (data?.totals) pushed.push({ at: data.at, totals: data.totals });
      });
    });
    const called = [];
    page.on("request", (request) => {
      const [, below] = new URL(request.url()).pathname.split("/api/");
      if (below !== undefined) called.push(`${request.method()} ${decodeURIComponent(below)}`);
    });
    pages.push({ page, context, problems, pushed, called });
    return pages.length - 1;
  },
  async steps({ page, steps }) {
    let value = pages[page].page;
    for (const [name, ...args] of steps) {
      const member = value[name];
      value = typeof member === "function" ? await member.apply(value, args) : member;
    }
    return value === null || typeof value !== "object" || Array.isArray(value) ? value : null;
  },
  // Not `waitForFunction`, which has the page itself evaluate the text: its policy forbids that.
  async until({ page, expression }) {
    const end = Date.now() + PATIENCE;
    for (;;) {
      if (await seen(pages[page].page, expression)) return true;
      if (Date.now() > end) throw new Error(`not true in ${PATIENCE} ms: ${expression}`);
      await new Promise((done) => setTimeout(done, PAUSE));
    }
  },
  async axe({ page }) {
    const shown = pages[page].page;
    if (!(await shown.evaluate("'axe' in window"))) await shown.evaluate(source);
    const { violations } = await shown.evaluate("axe.run(document, { resultTypes: ['violations'] })");
    return violations.map(({ id, impact, nodes }) => ({
      id,
      impact,
      targets: nodes.map((node) => `${node.target.join(" ")} ${node.any[0]?.message ?? ""}`),
    }));
  },
  problems: ({ page }) => pages[page].problems,
  called: ({ page }) => pages[page].called,
  pushed: ({ page }) => pages[page].pushed,
  close: ({ page }) => pages[page].context.close(),
};

const lines = createInterface({ input: process.stdin });
for await (const line of lines) {
  const command = JSON.parse(line);
  let told;
  try {
    told = { answer: (await actions[command.do](command)) ?? null };
  } catch (error) {
    told = { error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(told)}\n`);
}
await browser.close();
process.exit(0);
