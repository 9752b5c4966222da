// Hands the module to the tests, which call it through `page.evaluate`.
import * as kit from "/ratelimit-kit/ratelimit.js";

Object.assign(window, { kit });
