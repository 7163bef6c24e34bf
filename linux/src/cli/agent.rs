//! `lifesign agent`: what one of our own agents does.

use std::env;
use std::process::ExitCode;

use lifesign_core::group::Token;

use super::grammar::agent::AgentArgs;
use super::{fail, say};
use crate::agent::own;

/// Does it for the node and under the token that stand in the environment.
pub(super) fn main(args: &AgentArgs) -> ExitCode {
    let said = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let token = said("LIFESIGN_TOKEN").and_then(|token| token.parse().ok()).map(Token);
    let (Some(node), Some(token)) = (said("LIFESIGN_NODE"), token) else {
        return fail("LIFESIGN_NODE and LIFESIGN_TOKEN must be in the environment");
    };
    match own::run(args.own, args.deed, &args.parameters, &node, token) {
        Ok(remark) => {
            if !remark.is_empty() {
                say(&remark);
            }
            ExitCode::SUCCESS
        }
        Err(why) => fail(&why),
    }
}
