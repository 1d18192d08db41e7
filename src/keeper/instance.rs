//! What one instance is started as: its environment, its expanded command, its port. Made anew for each start from the
//! record and the secrets in memory.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use codeops_core::model::{AppSpec, InstanceId, Probe, Resource, RunSpec, expand, expand_env};

use super::descriptors;
use super::wire::{Confidential, Setting};
use crate::launch::Orders;

/// The plain variables of an instance: those declared, with theirs filled in, and those that the keeper adds: `HOST` and
/// `PORT` only with a port.
///
/// # Errors
/// In one sentence, when a value names a variable that is not there.
pub(super) fn environment(
    id: &InstanceId,
    resource: &Resource,
    setting: &Setting,
    port: Option<u16>,
) -> Result<BTreeMap<String, String>, String> {
    let mut built_in =
        BTreeMap::from([("APP".to_owned(), resource.id.name.to_string()), ("INSTANCE".to_owned(), id.to_string())]);
    if let Some(port) = port {
        built_in.insert("HOST".to_owned(), Ipv4Addr::LOCALHOST.to_string());
        built_in.insert("PORT".to_owned(), port.to_string());
    }
    let mut env =
        expand_env(&setting.env, |name| built_in.get(name).cloned()).map_err(|error| format!("its env: {error}"))?;
    env.extend(built_in);
    Ok(env)
}

/// Orders for `command` in the setting of an instance. Arguments see plain variables only, never secrets.
///
/// # Errors
/// In one sentence, when an argument names a variable that is not there.
pub(super) fn orders(
    command: &[String],
    mut env: BTreeMap<String, String>,
    secrets: &Confidential,
    setting: &Setting,
) -> Result<Orders, String> {
    let filled = |argument: &String| expand(argument, |name| env.get(name).cloned());
    let command = command.iter().map(filled).collect::<Result<Vec<_>, _>>();
    let command = command.map_err(|error| format!("its command: {error}"))?;
    env.extend(secrets.0.iter().map(|(name, value)| (name.clone(), value.reveal().clone())));
    Ok(Orders {
        command,
        dir: setting.dir.clone(),
        env,
        user: setting.user.clone(),
        files: setting.files,
        soft_files: descriptors::found(),
        cgroups: Vec::new(),
        ..Orders::default()
    })
}

/// The command of an app's spec.
///
/// # Errors
/// In one sentence, when it has none.
pub(super) fn command(spec: &AppSpec) -> Result<&[String], String> {
    match &spec.run {
        RunSpec::Command { command, .. } if !command.is_empty() => Ok(command),
        RunSpec::Command { .. } => Err("its command is empty".to_owned()),
        RunSpec::Image(image) => Err(format!("a keeper runs commands, not the image {image}")),
    }
}

/// Whether an instance is given a port.
pub(super) fn wants_port(spec: &AppSpec) -> bool {
    let asked = |probe: &Probe| matches!(probe, Probe::Http(_) | Probe::Tcp);
    spec.port.is_some() || spec.health.as_ref().is_some_and(|health| asked(&health.probe))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_there_only_with_a_port() {
        let spec = serde_json::json!({"provider": "local", "run": {"command": {"command": ["shop"]}}});
        let digest = codeops_core::model::Digest::of(&spec);
        let name = |name| codeops_core::model::Name::new(name).expect("valid");
        let resource = Resource {
            id: codeops_core::model::ResourceId::app(name("shop")),
            team: name("payments"),
            spec_digest: digest.clone(),
            template_digest: digest.clone(),
            spec: serde_json::from_value(spec).expect("a spec"),
            secret_tags: BTreeMap::new(),
            was: Vec::new(),
            adopt: false,
            place: codeops_core::model::Place { file: "shop.yaml".into(), line: 1, column: 1 },
        };
        let id = InstanceId::new(&digest, 1).expect("valid");
        let names = |port| {
            let env = environment(&id, &resource, &Setting::default(), port).expect("nothing to expand");
            env.into_keys().collect::<Vec<_>>()
        };
        assert_eq!(names(Some(80)), ["APP", "HOST", "INSTANCE", "PORT"]);
        assert_eq!(names(None), ["APP", "INSTANCE"]);
    }
}
