//! AWS credentials and region, resolved with the default provider chain of the AWS SDK.
//!
//! The chain is: environment, profile (including SSO, credential processes and source
//! profiles), web identity (IRSA), ECS and EKS Pod Identity, IMDSv2. Keys from the
//! configuration take precedence over the chain. The credentials found can be used to assume a
//! role.

pub mod sign;

use std::collections::BTreeMap;

use aws_config::{BehaviorVersion, Region, SdkConfig, sts::AssumeRoleProvider};
use aws_credential_types::{
    Credentials,
    provider::{
        ProvideCredentials, SharedCredentialsProvider, error::CredentialsError,
        future::ProvideCredentials as Provided,
    },
};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use mesh_model::config::Secret;

/// AWS settings of a configuration. All are optional.
#[derive(Clone, Debug, Default)]
pub struct AwsOptions {
    /// AWS region. Default: from the environment, the profile or IMDS.
    pub region: Option<String>,
    /// Static access key and secret key.
    pub keys: Option<(String, Secret)>,
    /// Named profile.
    pub profile: Option<String>,
    /// ARN of the role to assume.
    pub role_arn: Option<String>,
    /// External ID of that role.
    pub external_id: Option<String>,
    /// Name of the role's sessions in CloudTrail. Default: `promesh`.
    pub session_name: Option<String>,
    /// Tags of the role's sessions.
    pub tags: BTreeMap<String, String>,
    /// Use the FIPS endpoint of STS.
    pub use_fips_sts: bool,
}

/// Resolved region and credentials.
#[derive(Clone, Debug)]
pub struct Aws {
    /// AWS region, or `None` if no source provides one.
    pub region: Option<String>,
    /// Credentials provider. It does not cache: each call queries the source again.
    pub credentials: SharedCredentialsProvider,
}

/// A provider that builds the SDK's chain again for each call.
///
/// The SDK's chain reads the profile files only once, so it would never notice keys that are
/// rotated in a mounted file.
#[derive(Debug)]
struct Chain(AwsOptions);

/// Default name of role sessions in CloudTrail.
const SESSION_NAME: &str = "promesh";

// === impl AwsOptions ===

impl AwsOptions {
    /// Resolves the region. The credentials are not resolved until they are used.
    pub async fn resolve(&self) -> Aws {
        let mut chain = Chain(self.clone());
        // With a region in the options, later calls do not query IMDS for it.
        if chain.0.region.is_none() {
            chain.0.region = chain.load().await.region().map(ToString::to_string);
        }
        Aws {
            region: chain.0.region.clone(),
            credentials: SharedCredentialsProvider::new(chain),
        }
    }
}

// === impl Chain ===

impl Chain {
    async fn load(&self) -> SdkConfig {
        let options = &self.0;
        // The SDK's default client would add a second TLS stack.
        let http_client = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http_client)
            .use_fips(options.use_fips_sts);
        if let Some(region) = &options.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &options.profile {
            loader = loader.profile_name(profile);
        }
        if let Some((access_key, secret_key)) = &options.keys {
            let keys =
                Credentials::new(access_key, secret_key.expose(), None, None, "configuration");
            loader = loader.credentials_provider(keys);
        }
        loader.load().await
    }

    async fn fetch(&self) -> Result<Credentials, CredentialsError> {
        let config = self.load().await;
        let found = config.credentials_provider();
        let found = found.expect("a loaded configuration always has a provider");
        let Some(role) = &self.0.role_arn else {
            return found.provide_credentials().await;
        };
        let mut assumed = AssumeRoleProvider::builder(role)
            .session_name(self.0.session_name.as_deref().unwrap_or(SESSION_NAME))
            .tags(&self.0.tags)
            .configure(&config);
        if let Some(external_id) = &self.0.external_id {
            assumed = assumed.external_id(external_id);
        }
        let assumed = assumed.build_from_provider(found).await;
        assumed.provide_credentials().await
    }
}

impl ProvideCredentials for Chain {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        Provided::new(self.fetch())
    }
}
