//! Commits by the bot.
