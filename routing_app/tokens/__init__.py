"""The tokens protocol: sai's WebSockets message broker (`abc1,group/,abc3|Hello`)."""
